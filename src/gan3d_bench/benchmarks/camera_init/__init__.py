"""Table `camera-init`: what the cameras that training starts from change."""
