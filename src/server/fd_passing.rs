//! Passes descriptors between processes in messages over a unix socket (SCM_RIGHTS).
//!
//! A received descriptor is an `OwnedFd` from the start, so no code has to trust a bare number.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, MsgFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The most descriptors in one message; the kernel allows 253.
pub const DESCRIPTORS_MAX: usize = 32;

/// The longest message that is sent; a longer one is cut and refused by the receiver.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The two ends of a channel that preserves message boundaries (SOCK_SEQPACKET).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub fn send(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message and its descriptors; an empty message means that the other end is closed.
pub fn receive(socket: impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut message)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for sent in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = sent {
            descriptors.extend(sent);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut"));
    }
    message.truncate(received.bytes);
    Ok((message, descriptors))
}

/// Turns the number of a descriptor that the process was started with into an `OwnedFd`, without unsafe code: the
/// descriptor is sent through a socket pair, received as an owned copy, and the original is closed.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    let (from, to) = pair()?;
    let message = [IoSlice::new(b"x")];
    let numbers = [number];
    let rights = [ControlMessage::ScmRights(&numbers)];
    nix::sys::socket::sendmsg::<()>(from.as_raw_fd(), &message, &rights, MsgFlags::empty(), None)?;
    let (_, adopted) = receive(&to)?;
    nix::unistd::close(number)?;
    adopted.into_iter().next().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn messages_stay_apart_and_bring_their_descriptors() {
        let (ours, theirs) = pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        send(&ours, b"one", &[listener.as_fd(), listener.as_fd()]).expect("sent");
        send(&ours, b"two", &[]).expect("sent");
        drop(ours);
        let (message, descriptors) = receive(&theirs).expect("received");
        assert_eq!((message.as_slice(), descriptors.len()), (&b"one"[..], 2));
        let copy = TcpListener::from(descriptors.into_iter().next().expect("two of them"));
        assert_eq!(copy.local_addr().expect("bound"), listener.local_addr().expect("bound"));
        assert_eq!(receive(&theirs).expect("received").0, b"two");
        assert!(receive(&theirs).expect("the end").0.is_empty());
    }

    #[test]
    fn a_number_is_adopted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let adopted = TcpListener::from(adopt(listener.into_raw_fd()).expect("a descriptor"));
        assert_eq!(adopted.local_addr().expect("bound"), address);
        assert!(adopt(9_999).is_err());
    }
}
