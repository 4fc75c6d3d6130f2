//! RRTO's engines on QUIC: endpoint, mutual TLS, control and bulk streams.
