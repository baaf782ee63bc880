"""Running gischat on one machine: the launcher, and what supervisord and supervisorctl get from us."""
