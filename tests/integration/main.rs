//! The real thing: real git repositories, terminals, sockets and `kill -9`.


