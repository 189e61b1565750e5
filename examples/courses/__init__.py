"""Students join courses: decisions that are about several things at once, and have no aggregate."""
