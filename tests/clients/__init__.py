"""The clients that people have: models of them, real Qt, and a check with QGIS itself."""
