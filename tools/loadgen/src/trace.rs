//! Traces: `NAME.keys.zst` is one zstd frame with a little-endian `u64` for each request, `NAME.sizes.zst` one with a
//! little-endian `u32`. They are read as a stream, so a trace may be larger than the memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ruzstd::decoding::StreamingDecoder;

use crate::error::LoadError;
use crate::limits::{TRACE_BUFFER_BYTES, TRACE_OBJECTS_MAX};

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which object.
    pub key: u64,
    /// The size of the object, in bytes, if the trace has sizes: that of its first request, which it keeps.
    pub size: Option<u32>,
}

/// The requests of a trace, in order.
#[derive(Debug)]
pub struct Trace {
    keys: Column<8>,
    sizes: Option<Column<4>>,
    /// Of each object that came up, if there are sizes.
    first_sizes: HashMap<u64, u32>,
}

impl Trace {
    /// Opens a trace.
    ///
    /// # Errors
    /// [`LoadError::Trace`]: a file is not there, or is no zstd file.
    pub fn open(keys: &Path, sizes: Option<&Path>) -> Result<Trace, LoadError> {
        Ok(Trace {
            keys: Column::open(keys)?,
            sizes: sizes.map(Column::open).transpose()?,
            first_sizes: HashMap::new(),
        })
    }

    /// The next request; `None` at the end.
    ///
    /// # Errors
    /// [`LoadError::Trace`]: a file is damaged, ends within a number, or has fewer numbers than the other one.
    pub fn next_request(&mut self) -> Result<Option<Request>, LoadError> {
        let key = self.keys.next_number()?.map(u64::from_le_bytes);
        let Some(sizes) = &mut self.sizes else { return Ok(key.map(|key| Request { key, size: None })) };
        match (key, sizes.next_number()?.map(u32::from_le_bytes)) {
            (None, None) => Ok(None),
            (Some(key), Some(size)) => {
                let size = *self.first_sizes.entry(key).or_insert(size);
                if self.first_sizes.len() > TRACE_OBJECTS_MAX {
                    return Err(
                        sizes.wrong(format!("sizes of more than {TRACE_OBJECTS_MAX} objects are not remembered"))
                    );
                }
                Ok(Some(Request { key, size: Some(size) }))
            }
            (None, Some(_)) => {
                Err(sizes.wrong(format!("it has more sizes than the trace has keys ({})", self.keys.read)))
            }
            (Some(_), None) => {
                let count = sizes.read;
                Err(sizes.wrong(format!("it ends after {count} sizes, and the trace has more keys")))
            }
        }
    }
}

/// A file of numbers of `N` bytes.
struct Column<const N: usize> {
    path: PathBuf,
    decoder: StreamingDecoder<BufReader<File>, ruzstd::decoding::FrameDecoder>,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    read: u64,
}

impl<const N: usize> std::fmt::Debug for Column<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Column").field("path", &self.path).field("read", &self.read).finish_non_exhaustive()
    }
}

impl<const N: usize> Column<N> {
    fn open(path: &Path) -> Result<Column<N>, LoadError> {
        let wrong = |reason: String| LoadError::Trace { path: path.to_path_buf(), reason };
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let decoder = StreamingDecoder::new(BufReader::new(file))
            .map_err(|error| wrong(format!("{error}; a trace is compressed with zstd")))?;
        let buffer = vec![0; TRACE_BUFFER_BYTES].into_boxed_slice();
        Ok(Column { path: path.to_path_buf(), decoder, buffer, at: 0, end: 0, read: 0 })
    }

    fn next_number(&mut self) -> Result<Option<[u8; N]>, LoadError> {
        if self.end - self.at < N {
            self.refill()?;
        }
        match self.end - self.at {
            0 => Ok(None),
            left if left < N => Err(self.wrong(format!(
                "it ends within a number: {left} bytes are left after {} numbers of {N} bytes",
                self.read
            ))),
            _ => {
                let number = self.buffer[self.at..self.at + N].try_into().expect("a slice of N bytes");
                self.at += N;
                self.read += 1;
                Ok(Some(number))
            }
        }
    }

    /// Decodes until the buffer is full or the file ends.
    fn refill(&mut self) -> Result<(), LoadError> {
        self.buffer.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        while self.end < self.buffer.len() {
            match self.decoder.read(&mut self.buffer[self.end..]) {
                Ok(0) => return self.check_end(),
                Ok(read) => self.end += read,
                Err(error) => {
                    return Err(self.wrong(format!("it is damaged or cut short after {} numbers: {error}", self.read)));
                }
            }
        }
        Ok(())
    }

    /// Whether the end of the frame is that of the file, and the content has its checksum.
    fn check_end(&mut self) -> Result<(), LoadError> {
        match self.decoder.get_mut().fill_buf() {
            Ok([]) => {}
            Ok(_) => return Err(self.wrong("there is more behind its zstd frame; a trace is one frame".into())),
            Err(error) => return Err(self.wrong(error.to_string())),
        }
        let frame = &self.decoder.decoder;
        match frame.get_checksum_from_data() {
            Some(_) if frame.get_calculated_checksum() != frame.get_checksum_from_data() => {
                Err(self.wrong("its content does not have its checksum".into()))
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, reason: String) -> LoadError {
        LoadError::Trace { path: self.path.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn file(dir: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn keys(count: u64) -> Vec<u8> {
        (0..count).flat_map(|key| (key * key % 97).to_le_bytes()).collect()
    }

    fn pack(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    fn read(keys: &Path, sizes: Option<&Path>) -> Result<Vec<Request>, LoadError> {
        let mut trace = Trace::open(keys, sizes)?;
        let mut requests = Vec::new();
        while let Some(request) = trace.next_request()? {
            requests.push(request);
        }
        Ok(requests)
    }

    #[test]
    fn a_trace_is_read_in_order_over_many_buffers() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "a.keys.zst", &pack(&keys(50_000)));
        let requests = read(&path, None).unwrap();
        assert_eq!(requests.len(), 50_000);
        assert!(requests.iter().zip(0..).all(|(request, key)| request.key == key * key % 97 && request.size.is_none()));
        assert!(read(&file(&dir, "empty.keys.zst", &pack(&[])), None).unwrap().is_empty());
    }

    #[test]
    fn an_object_keeps_its_first_size() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<u8> = [7_u64, 8, 7].into_iter().flat_map(u64::to_le_bytes).collect();
        let sizes: Vec<u8> = [10_u32, 20, 30].into_iter().flat_map(u32::to_le_bytes).collect();
        let (keys, sizes) = (file(&dir, "a.keys.zst", &pack(&keys)), file(&dir, "a.sizes.zst", &pack(&sizes)));
        let requests = read(&keys, Some(&sizes)).unwrap();
        assert_eq!(requests.iter().map(|request| request.size).collect::<Vec<_>>(), [Some(10), Some(20), Some(10)]);
    }

    #[test]
    fn damaged_files_are_named_with_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let whole = pack(&keys(50_000));
        let cases = [
            ("cut.keys.zst", whole[..whole.len() / 2].to_vec(), "cut short"),
            ("odd.keys.zst", pack(&keys(3)[..21]), "5 bytes are left after 2 numbers"),
            ("plain.keys.zst", keys(3), "compressed with zstd"),
            ("two.keys.zst", [pack(&keys(3)), pack(&keys(3))].concat(), "more behind"),
            ("tail.keys.zst", [pack(&keys(3)), vec![1]].concat(), "more behind"),
        ];
        for (name, content, expected) in cases {
            let error = read(&file(&dir, name, &content), None).expect_err(name);
            assert!(error.to_string().contains(name) && error.to_string().contains(expected), "{name}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
        let missing = dir.path().join("missing.keys.zst");
        assert!(read(&missing, None).unwrap_err().to_string().contains("missing.keys.zst"));
    }

    #[test]
    fn a_flipped_byte_is_no_other_trace() {
        let dir = tempfile::tempdir().unwrap();
        let whole = pack(&keys(500));
        let right = read(&file(&dir, "right.keys.zst", &whole), None).unwrap();
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x10;
            if let Ok(requests) = read(&file(&dir, "wrong.keys.zst", &wrong), None) {
                assert_eq!(requests, right, "byte {at} is flipped and nobody noticed");
            }
        }
    }

    #[test]
    fn keys_and_sizes_must_be_as_many() {
        let dir = tempfile::tempdir().unwrap();
        let keys = file(&dir, "a.keys.zst", &pack(&keys(10)));
        for (name, count, expected) in
            [("few.sizes.zst", 9, "ends after 9 sizes"), ("many.sizes.zst", 11, "more sizes")]
        {
            let sizes = file(&dir, name, &pack(&vec![0; count * 4]));
            let error = read(&keys, Some(&sizes)).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        }
    }
}
