//! Makes RRTO's certificate authority, server and robot certificates.
