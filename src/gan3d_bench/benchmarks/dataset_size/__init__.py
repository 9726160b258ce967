"""Table `dataset-size`: shape against the number of images the GAN was trained on."""
