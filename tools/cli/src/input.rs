//! Where values come from.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use larder_protocol::limits::VALUE_BYTES_MAX;

use crate::report::Unusable;

/// The value of a `set`: an argument, a file, or standard input.
pub(crate) fn value(argument: Option<OsString>, file: Option<&Path>) -> Result<Vec<u8>, Unusable> {
    match (argument, file) {
        (_, Some(path)) => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| Unusable(format!("cannot open {name}: {error}")))?;
            bounded(file, &name)
        }
        (Some(argument), None) if argument == OsStr::new("-") => bounded(std::io::stdin().lock(), "standard input"),
        (Some(argument), None) => Ok(argument.into_vec()),
        (None, None) => Err(Unusable("no value: name one, or --file, or - for standard input".to_owned())),
    }
}

/// The bytes of an argument.
pub(crate) fn bytes(argument: &OsStr) -> &[u8] {
    argument.as_bytes()
}

/// Reads no more than the largest value of the protocol, whatever the source has.
fn bounded(source: impl Read, name: &str) -> Result<Vec<u8>, Unusable> {
    let mut value = Vec::new();
    source
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|error| Unusable(format!("cannot read {name}: {error}")))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(Unusable(format!(
            "{name} is longer than the longest value, {VALUE_BYTES_MAX} bytes; store a part"
        )));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_source_is_refused_and_not_read_to_its_end() {
        let refusal = bounded(std::io::repeat(1), "the source").unwrap_err();
        assert!(refusal.0.contains("the source is longer"), "{refusal:?}");
        assert_eq!(bounded(std::io::repeat(1).take(5), "the source").unwrap(), [1; 5]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let refusal = value(None, Some(Path::new("no/such/file"))).unwrap_err();
        assert!(refusal.0.contains("no/such/file"), "{refusal:?}");
    }
}
