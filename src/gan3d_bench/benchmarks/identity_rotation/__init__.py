"""Table `identity-rotation`: does a turned face stay the same person?"""
