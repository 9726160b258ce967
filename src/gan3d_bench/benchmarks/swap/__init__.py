"""Table `swap`: shape, texture and background swapped between cars, one by one."""
