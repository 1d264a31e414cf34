//! Descriptors as glommio takes them: its listener and file have no safe constructor from an owned descriptor.
#![allow(unsafe_code)]

use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use glommio::io::BufferedFile;

/// A listener of this thread's executor.
pub(super) fn listener(listener: TcpListener) -> glommio::net::TcpListener {
    let descriptor = listener.into_raw_fd();
    // SAFETY: `into_raw_fd` gave up the ownership of an open descriptor, which is passed on here and nowhere else, so
    // the result alone owns and closes it. It is a listening TCP socket, as the type of the argument says.
    unsafe { glommio::net::TcpListener::from_raw_fd(descriptor) }
}

/// A connection of this thread's executor.
pub(super) fn stream(stream: TcpStream) -> glommio::net::TcpStream {
    let descriptor = stream.into_raw_fd();
    // SAFETY: `into_raw_fd` gave up the ownership of an open descriptor, which is passed on here and nowhere else, so
    // the result alone owns and closes it. It is a connected TCP socket, as the type of the argument says.
    unsafe { glommio::net::TcpStream::from_raw_fd(descriptor) }
}

/// A file of this thread's executor.
pub(super) fn file(descriptor: OwnedFd) -> BufferedFile {
    let descriptor = descriptor.into_raw_fd();
    // SAFETY: `into_raw_fd` gave up the ownership of an open descriptor, which is passed on here and nowhere else, so
    // the result alone owns and closes it.
    unsafe { BufferedFile::from_raw_fd(descriptor) }
}
