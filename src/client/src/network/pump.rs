//! The task of one connection: writes what callers left, hands answers out, and watches for a silent peer.

use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES};
use larder_protocol::native;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use crate::limits::{ANSWERS_KEPT, READ_BYTES, STALL_CHECKS};
use crate::network::answer::Answer;
use crate::network::calls::Completion;
use crate::network::link::Link;

/// Runs the connection to its end, and says what ended it. `unread`: bytes that came behind the answer of Hello.
pub(crate) async fn run(
    link: &Link,
    read_half: OwnedReadHalf,
    write_half: OwnedWriteHalf,
    unread: BytesMut,
    stall: Duration,
) -> String {
    tokio::select! {
        end = read(link, read_half, unread) => end,
        end = write(link, write_half) => end,
        end = watch(link, stall) => end,
    }
}

async fn write(link: &Link, mut socket: OwnedWriteHalf) -> String {
    let mut chunks = Vec::new();
    loop {
        link.outbox_filled.notified().await;
        // Callers that can run now add their frames to this write.
        tokio::task::yield_now().await;
        let charged = link.lock().outbox.take(&mut chunks);
        for chunk in &chunks {
            if let Err(error) = socket.write_all(chunk).await {
                return format!("writing failed: {error}");
            }
        }
        link.write_queue.add_permits(charged);
    }
}

async fn read(link: &Link, mut socket: OwnedReadHalf, mut buffer: BytesMut) -> String {
    let (mut answers, mut wakers) = (Vec::new(), Vec::new());
    loop {
        let taken = take_answers(link, &mut buffer, &mut answers, &mut wakers);
        wakers.drain(..).for_each(Waker::wake);
        answers.shrink_to(ANSWERS_KEPT);
        wakers.shrink_to(ANSWERS_KEPT);
        if let Err(reason) = taken {
            return reason;
        }
        buffer.reserve(room_wanted(&buffer));
        match socket.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => return "the server closed it".to_owned(),
            Ok(0) => return format!("the server closed it {} bytes into a frame", buffer.len()),
            Ok(_) => link.reads.fetch_add(1, Ordering::Relaxed),
            Err(error) => return format!("reading failed: {error}"),
        };
    }
}

/// Room for the rest of a frame that has begun, but never more than doubles what has really come: a length is only a
/// claim.
pub(super) fn room_wanted(buffer: &[u8]) -> usize {
    let missing = match buffer.first_chunk::<FRAME_PREFIX_BYTES>() {
        Some(prefix) => (u32::from_be_bytes(*prefix) as usize + FRAME_PREFIX_BYTES).saturating_sub(buffer.len()),
        None => 0,
    };
    missing.min(buffer.len()).max(READ_BYTES)
}

/// Hands out every whole answer in `buffer`, and leaves the rest. `answers` is empty before and after.
fn take_answers(
    link: &Link,
    buffer: &mut BytesMut,
    answers: &mut Vec<(u64, Answer)>,
    wakers: &mut Vec<Waker>,
) -> Result<(), String> {
    let whole = whole_frames(buffer)?;
    if whole == 0 {
        return Ok(());
    }
    // One share of the buffer for all frames of this read; values are slices of it.
    let chunk = buffer.split_to(whole).freeze();
    let mut rest = &chunk[..];
    while let Ok(Some(frame)) = native::frame(rest, FRAME_BYTES_MAX) {
        let answer = Answer::decode(&chunk, frame.message).map_err(|reason| format!("malformed answer: {reason}"))?;
        answers.push(answer);
        rest = &rest[frame.consumed..];
    }
    let in_flight = answers.len();
    let mut state = link.lock();
    for (id, answer) in answers.drain(..) {
        match state.calls.complete(id, answer) {
            Ok(Completion::Caller(waker)) => wakers.extend(waker),
            Ok(Completion::Discarded) => {}
            Err(answer) => return Err(unknown_answer(id, &answer)),
        }
    }
    drop(state);
    link.in_flight.add_permits(in_flight);
    Ok(())
}

/// Length of the whole frames at the start of `buffer`.
fn whole_frames(buffer: &[u8]) -> Result<usize, String> {
    let mut whole = 0;
    while let Some(frame) =
        native::frame(&buffer[whole..], FRAME_BYTES_MAX).map_err(|error| format!("not this protocol: {error}"))?
    {
        whole += frame.consumed;
    }
    Ok(whole)
}

/// An answer to nothing: with id 0 a complaint about this connection, else a sign that the two sides have lost step.
fn unknown_answer(id: u64, answer: &Answer) -> String {
    if id == 0 {
        format!("the server gives the connection up ({:?}): {}", answer.status, answer.message)
    } else {
        format!("the server answered with id {id}, which nobody asked with")
    }
}

/// Ends once requests have waited for `stall` while nothing at all was received.
async fn watch(link: &Link, stall: Duration) -> String {
    let mut interval = tokio::time::interval(stall / STALL_CHECKS);
    let (mut reads_before, mut quiet_since) = (0, Instant::now());
    loop {
        let now = interval.tick().await;
        let reads = link.reads.load(Ordering::Relaxed);
        let waiting = link.lock().calls.unanswered() > 0;
        if !waiting || reads != reads_before {
            (reads_before, quiet_since) = (reads, now);
        } else if now.duration_since(quiet_since) >= stall {
            return format!("requests wait, and nothing was received for {} ms", stall.as_millis());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_length_does_not_allocate() {
        let claim = (64_u32 << 20).to_be_bytes();
        assert_eq!(room_wanted(&claim), READ_BYTES);
        let mut begun = claim.to_vec();
        begun.resize(1 << 20, 0);
        assert_eq!(room_wanted(&begun), 1 << 20);
        begun.resize((64 << 20) - 100, 0);
        assert_eq!(room_wanted(&begun), READ_BYTES, "what is missing, at least a read");
    }

    #[test]
    fn whole_frames_end_at_the_last_whole_one() {
        let bytes = [0, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 2, 9];
        assert_eq!(whole_frames(&bytes), Ok(9));
        assert_eq!(whole_frames(&bytes[..4]), Ok(0));
        assert!(whole_frames(&[255; 8]).is_err());
    }
}
