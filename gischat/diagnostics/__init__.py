"""What `gischat check` looks at: each function takes what it needs and yields findings. Nothing is ever changed."""
