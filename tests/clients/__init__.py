"""Real clients: models of QGIS and QField, real Qt, the Python client, and a check with QGIS itself."""
