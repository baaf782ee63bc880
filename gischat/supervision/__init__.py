"""Running everything on one machine: `gischat up`, and plugins for supervisord and supervisorctl."""
