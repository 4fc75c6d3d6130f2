//! A seeded user-space UDP link, and the experiments that stand on it.
