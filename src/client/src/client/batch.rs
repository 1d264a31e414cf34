//! Operations on several keys: one frame per shard, each key with a result of its own.

use larder_protocol::{Command, Keys, Span, Status, Write, WriteSpan, Writes};

use crate::call::{Attempts, Failed, Target};
use crate::client::Client;
use crate::cluster::View;
use crate::entry::{Entry, SetOptions, SetOutcome};
use crate::error::Error;
use crate::join::join;
use crate::limits::{
    BATCH_ENTRY_OVERHEAD_BYTES, BATCH_FRAME_BYTES, BATCH_FRAMES_AT_ONCE, BATCH_KEYS_MAX, REQUEST_OVERHEAD_BYTES,
};
use crate::network::{Answer, Payload};
use crate::routing::{self, FrameBounds, Part};

/// # Several keys at once
/// Keys are grouped by the shard that owns them and sent as one frame per shard (more, where limits ask for it), all at
/// the same time. There is no atomicity across keys. The results are in the order asked, one for each key: a key fails
/// alone, with the error that a call for it alone would have had, and the others are not disturbed. Keys that a server
/// did not execute are asked for again within the deadline and the retry policy, and so are those whose entries did not
/// fit into one answer. A key that is named twice in a batch that writes has one of the two entries in the end.
impl Client {
    /// The entries of several keys.
    ///
    /// ```
    /// # mod fake { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake/mod.rs")); }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder_client::Error> {
    /// # let server = fake::Server::start().await;
    /// # let address = server.address();
    /// # use larder_client::{Client, SetOptions};
    /// # let client = Client::connect(address).await?;
    /// client.set_many(&[("a", "1"), ("b", "2")], SetOptions::new()).await.into_iter().for_each(|outcome| assert!(outcome.is_ok()));
    ///
    /// let found: Result<Vec<_>, _> = client.get_many(&["b", "none", "a"]).await.into_iter().collect();
    /// let values: Vec<_> = found?.into_iter().map(|entry| entry.map(|entry| entry.value)).collect();
    /// assert_eq!(values, [Some("2".into()), None, Some("1".into())]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many(&self, keys: &[impl AsRef<[u8]>]) -> Vec<Result<Option<Entry>, Error>> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        self.run(GetMany(&keys)).await
    }

    /// Stores several entries, all with the same options.
    pub async fn set_many(
        &self,
        entries: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)],
        options: SetOptions,
    ) -> Vec<Result<SetOutcome, Error>> {
        let SetOptions { flags, condition, expiry } = options;
        let writes: Vec<Write<'_>> = entries
            .iter()
            .map(|(key, value)| Write { key: key.as_ref(), value: value.as_ref(), flags, condition, expiry })
            .collect();
        self.run(SetMany(&writes)).await
    }

    /// Stores several entries, each with options of its own.
    pub async fn write_many(&self, writes: &[Write<'_>]) -> Vec<Result<SetOutcome, Error>> {
        self.run(SetMany(writes)).await
    }

    /// Removes several entries, and says of each whether it was there.
    pub async fn delete_many(&self, keys: &[impl AsRef<[u8]>]) -> Vec<Result<bool, Error>> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        self.run(DeleteMany(&keys)).await
    }

    async fn run<B: Batch>(&self, batch: B) -> Vec<Result<B::Output, Error>> {
        let view = self.cluster.view();
        let mut results = Results::new(batch.len());
        let mut open: Vec<u32> = Vec::with_capacity(batch.len());
        for index in 0..batch.len() as u32 {
            match check(&batch, index, &view) {
                Ok(()) => open.push(index),
                Err(error) => results.fail(index, error),
            }
        }
        let mut attempts = Attempts::new(self, B::OPERATION);
        while !open.is_empty() {
            let view = self.cluster.view();
            let parts = self.parts(&view, &batch, open);
            let until = attempts.until;
            let batch = &batch;
            let outcomes = join(parts.iter().map(|part| self.part(batch, part, until)), BATCH_FRAMES_AT_ONCE).await;
            let mut round = Round::default();
            for (part, outcome) in parts.iter().zip(outcomes) {
                self.settle::<B>(&view, part, outcome, &mut results, &mut round);
            }
            open = round.did_not_fit;
            let Some((_, failed)) = round.failed.first() else { continue };
            match attempts.again(failed.clone()).await {
                Ok(()) => open.extend(round.failed.iter().map(|(index, _)| *index)),
                // Why this key failed in its last attempt says more than why another one did.
                Err(last @ Error::DeadlineExceeded { .. }) => {
                    round.failed.iter().for_each(|(index, _)| results.fail(*index, last.clone()));
                }
                Err(_) => round.failed.into_iter().for_each(|(index, failed)| results.fail(index, failed.error)),
            }
            open.sort_unstable();
        }
        results.into_vec()
    }

    fn parts<B: Batch>(&self, view: &View, batch: &B, open: Vec<u32>) -> Vec<Part> {
        let hash = self.group_hash(view);
        let keys = open.into_iter().map(|index| {
            let place = routing::place(&view.topology, hash, batch.key(index));
            (index, place, frame_bytes(batch, index))
        });
        let bytes_max = BATCH_FRAME_BYTES.min(view.limits.frame_bytes_max.saturating_sub(REQUEST_OVERHEAD_BYTES));
        routing::split(keys.collect(), FrameBounds { keys_max: view.limits.keys_max, bytes_max })
    }

    async fn part<B: Batch>(
        &self,
        batch: &B,
        part: &Part,
        until: tokio::time::Instant,
    ) -> Result<Vec<Result<B::Output, Status>>, Failed> {
        let mut frame = Frame::default();
        let command = batch.command(&part.indices, &mut frame);
        // By its first key, so that the place follows a ring that changes in between.
        let first = batch.key(part.indices[0]);
        let answer = self.attempt(Target::Key(first), &command, until).await?;
        let unexpected = |answer| Failed::definite(Error::UnexpectedAnswer { operation: B::OPERATION, answer });
        match B::outputs(answer) {
            Ok(outputs) if outputs.len() == part.indices.len() => Ok(outputs),
            Ok(outputs) => Err(unexpected(format!("{} results for {} keys", outputs.len(), part.indices.len()))),
            Err(answer) => Err(unexpected(format!("{:?} and {}", answer.status, answer.payload.kind()))),
        }
    }

    /// Sorts what came of one frame.
    fn settle<B: Batch>(
        &self,
        view: &View,
        part: &Part,
        outcome: Result<Vec<Result<B::Output, Status>>, Failed>,
        results: &mut Results<B::Output>,
        round: &mut Round,
    ) {
        let outputs = match outcome {
            Ok(outputs) => outputs,
            Err(failed) if failed.may_repeat => {
                return round.failed.extend(part.indices.iter().map(|index| (*index, failed.clone())));
            }
            Err(failed) => return part.indices.iter().for_each(|index| results.fail(*index, failed.error.clone())),
        };
        // At least one entry fits into any answer, so that asking for the rest alone comes to an end.
        let some_fit = outputs.iter().any(|output| !matches!(output, Err(Status::TooLarge)));
        for (index, output) in part.indices.iter().zip(outputs) {
            match output {
                Ok(output) => results.put(*index, Ok(output)),
                Err(Status::TooLarge) if B::READS && some_fit => round.did_not_fit.push(*index),
                Err(status) => {
                    let failed = self.refusal(view, status, B::OPERATION, String::new(), 0);
                    match failed.may_repeat {
                        true => round.failed.push((*index, failed)),
                        false => results.fail(*index, failed.error),
                    }
                }
            }
        }
    }
}

/// What a round leaves for the next one.
#[derive(Default)]
struct Round {
    did_not_fit: Vec<u32>,
    failed: Vec<(u32, Failed)>,
}

/// The results of a batch as they come in.
struct Results<T>(Vec<Option<Result<T, Error>>>);

impl<T> Results<T> {
    fn new(len: usize) -> Self {
        Results((0..len).map(|_| None).collect())
    }

    fn put(&mut self, index: u32, result: Result<T, Error>) {
        let before = self.0[index as usize].replace(result);
        assert!(before.is_none(), "key {index} has two results");
    }

    fn fail(&mut self, index: u32, error: Error) {
        self.put(index, Err(error));
    }

    fn into_vec(self) -> Vec<Result<T, Error>> {
        self.0.into_iter().map(|result| result.expect("every key has a result")).collect()
    }
}

/// The keys of a frame, laid side by side as the encoder wants them.
#[derive(Default)]
struct Frame {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    writes: Vec<WriteSpan>,
}

impl Frame {
    fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span { start, len: bytes.len() as u32 }
    }

    fn keys<'f>(&'f mut self, keys: &[&[u8]], indices: &[u32]) -> Keys<'f> {
        for index in indices {
            let span = self.put(keys[*index as usize]);
            self.spans.push(span);
        }
        Keys::new(&self.bytes, &self.spans)
    }
}

/// One kind of batch.
trait Batch {
    type Output;
    const OPERATION: &'static str;
    /// Whether `TOO_LARGE` means that an entry did not fit into the answer.
    const READS: bool;

    fn len(&self) -> usize;
    fn key(&self, index: u32) -> &[u8];
    fn value_bytes(&self, index: u32) -> usize;
    fn command<'f>(&self, indices: &[u32], frame: &'f mut Frame) -> Command<'f>;
    /// The results of a frame; the answer, if it is none to such a command.
    fn outputs(answer: Answer) -> Result<Vec<Result<Self::Output, Status>>, Answer>;
}

struct GetMany<'k>(&'k [&'k [u8]]);
struct SetMany<'w>(&'w [Write<'w>]);
struct DeleteMany<'k>(&'k [&'k [u8]]);

impl Batch for GetMany<'_> {
    type Output = Option<Entry>;
    const OPERATION: &'static str = "get_many";
    const READS: bool = true;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&self, index: u32) -> &[u8] {
        self.0[index as usize]
    }

    fn value_bytes(&self, _: u32) -> usize {
        0
    }

    fn command<'f>(&self, indices: &[u32], frame: &'f mut Frame) -> Command<'f> {
        Command::GetMany { keys: frame.keys(self.0, indices) }
    }

    fn outputs(answer: Answer) -> Result<Vec<Result<Self::Output, Status>>, Answer> {
        let found = |entry: Result<Entry, Status>| match entry {
            Err(Status::NotFound) => Ok(None),
            entry => entry.map(Some),
        };
        match answer.payload {
            Payload::Entries(entries) => Ok(entries.into_iter().map(found).collect()),
            _ => Err(answer),
        }
    }
}

impl Batch for SetMany<'_> {
    type Output = SetOutcome;
    const OPERATION: &'static str = "set_many";
    const READS: bool = false;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&self, index: u32) -> &[u8] {
        self.0[index as usize].key
    }

    fn value_bytes(&self, index: u32) -> usize {
        self.0[index as usize].value.len()
    }

    fn command<'f>(&self, indices: &[u32], frame: &'f mut Frame) -> Command<'f> {
        for index in indices {
            let Write { key, value, flags, condition, expiry } = self.0[*index as usize];
            let (key, value) = (frame.put(key), frame.put(value));
            frame.writes.push(WriteSpan { key, value, flags, condition, expiry });
        }
        Command::SetMany { entries: Writes::new(&frame.bytes, &frame.writes) }
    }

    fn outputs(answer: Answer) -> Result<Vec<Result<Self::Output, Status>>, Answer> {
        let outcome = |outcome: Result<u64, Status>| match outcome {
            Ok(version) => Ok(SetOutcome::Stored { version }),
            Err(Status::Exists) => Ok(SetOutcome::Exists),
            Err(Status::NotFound) => Ok(SetOutcome::NotFound),
            Err(Status::VersionMismatch) => Ok(SetOutcome::VersionMismatch),
            Err(status) => Err(status),
        };
        match answer.payload {
            Payload::Outcomes(outcomes) => Ok(outcomes.into_iter().map(outcome).collect()),
            _ => Err(answer),
        }
    }
}

impl Batch for DeleteMany<'_> {
    type Output = bool;
    const OPERATION: &'static str = "delete_many";
    const READS: bool = false;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&self, index: u32) -> &[u8] {
        self.0[index as usize]
    }

    fn value_bytes(&self, _: u32) -> usize {
        0
    }

    fn command<'f>(&self, indices: &[u32], frame: &'f mut Frame) -> Command<'f> {
        Command::DeleteMany { keys: frame.keys(self.0, indices) }
    }

    fn outputs(answer: Answer) -> Result<Vec<Result<Self::Output, Status>>, Answer> {
        let deleted = |outcome: Result<u64, Status>| match outcome {
            Ok(_) => Ok(true),
            Err(Status::NotFound) => Ok(false),
            Err(status) => Err(status),
        };
        match answer.payload {
            Payload::Outcomes(outcomes) => Ok(outcomes.into_iter().map(deleted).collect()),
            _ => Err(answer),
        }
    }
}

/// What one key takes in a frame, at most.
fn frame_bytes<B: Batch>(batch: &B, index: u32) -> usize {
    batch.key(index).len() + batch.value_bytes(index) + BATCH_ENTRY_OVERHEAD_BYTES
}

fn check<B: Batch>(batch: &B, index: u32, view: &View) -> Result<(), Error> {
    if batch.len() > BATCH_KEYS_MAX {
        return Err(Error::TooLarge { what: "batch (keys)", bytes: batch.len() as u64, limit: BATCH_KEYS_MAX as u64 });
    }
    view.limits.check(batch.key(index).len(), batch.value_bytes(index))?;
    view.limits.check_frame(frame_bytes(batch, index) + REQUEST_OVERHEAD_BYTES)
}
