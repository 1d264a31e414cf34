//! Requests that are decoded before the first of them is executed.

use alloc::vec::Vec;

use crate::Request;

/// Requests at the beginning of some input that can be there at the same time, because each borrows from the input
/// alone, and where each ends in it, in bytes from its beginning. Their memory is reused from input to input.
#[derive(Debug, Default)]
pub struct Ahead<'a> {
    /// In the order of the input.
    pub requests: Vec<(Request<'a>, usize)>,
}

impl<'a> Ahead<'a> {
    /// The memory without the requests, for those of another input: an empty vector of one lifetime becomes one of
    /// another in place.
    pub fn recycled<'b>(mut self) -> Ahead<'b> {
        self.requests.clear();
        Ahead { requests: self.requests.into_iter().map(|_| unreachable!("it was cleared")).collect() }
    }

    /// The requests without what is beside them.
    pub fn iter(&self) -> impl Iterator<Item = &Request<'a>> {
        self.requests.iter().map(|(request, _)| request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    fn memory_is_kept_from_input_to_input() {
        let mut ahead = Ahead::default();
        let request = Request { id: 1, epoch: 0, group: 0, timeout_ms: 0, forwarded: false, command: Command::Stats };
        ahead.requests.extend((0..64).map(|end| (request, end)));
        let (place, capacity) = (ahead.requests.as_ptr() as usize, ahead.requests.capacity());
        let again = ahead.recycled();
        assert_eq!(again.iter().count(), 0);
        assert_eq!((again.requests.as_ptr() as usize, again.requests.capacity()), (place, capacity));
    }
}
