"""The checks of `gischat check`: functions that yield findings. They only read."""
