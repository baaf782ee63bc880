"""Running everything on one machine: `gischat up`, and our plugins of supervisord and supervisorctl."""
