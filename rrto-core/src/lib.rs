//! What RRTO knows: the function table, operators, wire codec and engines, without any I/O.
