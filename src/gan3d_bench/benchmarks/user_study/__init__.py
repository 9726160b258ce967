"""Table `user-study`: which reconstructions people prefer."""
