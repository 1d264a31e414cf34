//! A request that is answered again and again, on a connection that is for nothing else.

use bytes::BytesMut;
use larder_protocol::limits::{FRAME_BYTES_MAX, FRAME_PREFIX_BYTES};
use larder_protocol::{Request, native};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::network::answer::Answer;
use crate::network::handshake::Established;
use crate::network::pump::room_wanted;

/// A connection whose one request is answered for as long as it lives.
#[derive(Debug)]
pub(crate) struct Subscription {
    read_half: OwnedReadHalf,
    /// Nothing more is written; dropped, it would end the connection.
    _write_half: OwnedWriteHalf,
    buffer: BytesMut,
}

impl Subscription {
    /// Sends the request over a connection that nobody uses. Says how it broke.
    pub(crate) async fn begin(established: Established, request: &Request<'_>) -> Result<Subscription, String> {
        let Established { read_half, mut write_half, unread: buffer, .. } = established;
        let mut frame = Vec::new();
        native::encode_request(&mut frame, request);
        write_half.write_all(&frame).await.map_err(|error| format!("writing failed: {error}"))?;
        Ok(Subscription { read_half, _write_half: write_half, buffer })
    }

    /// The next answer, whatever its id: there is only one request. Says how the connection ended, or what is wrong with
    /// its bytes. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Answer, String> {
        loop {
            if let Some(answer) = self.take_answer()? {
                return Ok(answer);
            }
            self.buffer.reserve(room_wanted(&self.buffer));
            match self.read_half.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("the server closed it".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("reading failed: {error}")),
            }
        }
    }

    fn take_answer(&mut self) -> Result<Option<Answer>, String> {
        let frame =
            native::frame(&self.buffer, FRAME_BYTES_MAX).map_err(|error| format!("not this protocol: {error}"))?;
        let Some(frame) = frame else { return Ok(None) };
        let consumed = frame.consumed;
        let chunk = self.buffer.split_to(consumed).freeze();
        let (_, answer) = Answer::decode(&chunk, &chunk[FRAME_PREFIX_BYTES..])
            .map_err(|reason| format!("malformed answer: {reason}"))?;
        Ok(Some(answer))
    }
}
