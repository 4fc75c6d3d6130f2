//! The real GPU, through its driver opened at run time.
