//! Where a frame ends: a 4-byte big-endian length, and as many bytes.

use crate::limits::FRAME_PREFIX_BYTES;

/// One whole frame at the beginning of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message, without its length.
    pub message: &'a [u8],
    /// Bytes of the buffer that this frame takes, with its length.
    pub consumed: usize,
}

/// A frame whose length is above the limit. Nothing behind it can be trusted: answer BAD_REQUEST with id 0 and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame claims {claimed} bytes, and the limit is {limit}")]
pub struct FrameTooLarge {
    /// The length that the frame claims, in bytes.
    pub claimed: u32,
    /// The longest frame that is accepted, in bytes.
    pub limit: usize,
}

/// The frame at the beginning of `buffer`; `None` if more bytes are needed, of which there is never cause to buffer
/// more than `frame_bytes_max` and the length.
///
/// # Errors
/// [`FrameTooLarge`] as soon as the length is there, before any of the message.
#[inline]
pub fn frame(buffer: &[u8], frame_bytes_max: usize) -> Result<Option<Frame<'_>>, FrameTooLarge> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<FRAME_PREFIX_BYTES>() else {
        return Ok(None);
    };
    let claimed = u32::from_be_bytes(*prefix);
    let len = claimed as usize;
    if len > frame_bytes_max {
        return Err(FrameTooLarge { claimed, limit: frame_bytes_max });
    }
    Ok(rest.get(..len).map(|message| Frame { message, consumed: FRAME_PREFIX_BYTES + len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_the_whole_frame() {
        let buffer = [0, 0, 0, 2, 7, 8, 9];
        for len in 0..6 {
            assert_eq!(frame(&buffer[..len], 100), Ok(None), "{len} bytes");
        }
        assert_eq!(frame(&buffer, 100), Ok(Some(Frame { message: &[7, 8], consumed: 6 })));
    }

    #[test]
    fn an_empty_message_is_a_frame() {
        assert_eq!(frame(&[0; 4], 0), Ok(Some(Frame { message: &[], consumed: 4 })));
    }

    #[test]
    fn a_claim_above_the_limit_is_refused_from_the_length() {
        assert_eq!(frame(&[0, 0, 0, 101], 100), Err(FrameTooLarge { claimed: 101, limit: 100 }));
        assert_eq!(frame(&[0, 0, 0, 100], 100), Ok(None));
        assert_eq!(frame(&[0xff; 4], 100), Err(FrameTooLarge { claimed: u32::MAX, limit: 100 }));
    }
}
