//! Other people's programs as processes.

use std::{net::TcpListener, process::Child};

/// Another program may take the port between finding it free and using it.
pub const PORTS_TRIED_MAX: u32 = 5;

/// A port of the loopback interface that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// Ends a process at once.
pub fn stop(child: &mut Child) {
    // Both fail only for a process that has ended already.
    let _ = child.kill();
    let _ = child.wait();
}
