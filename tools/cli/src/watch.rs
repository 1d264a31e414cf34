//! What leaves a group, one line for each entry, as it is told.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use larder_client::{Client, Removals};
use serde_json::{Map, Value, json};

use crate::report;
use crate::text::{escaped, put_bytes};

/// Writes what leaves the group until the watch ends, which is an error, or nobody reads on.
pub(crate) async fn print(client: &Client, group: &str, json: bool) -> anyhow::Result<()> {
    let mut watch = client.watch(group).await?;
    // Whoever waits for the first line may cause it now.
    report::say(format_args!("larder-cli: watching group {group}; end with ctrl-c"));
    loop {
        let removals = watch.next().await?;
        match write_lines(&mut io::stdout().lock(), &removals, json) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write to standard output")?,
        }
    }
}

fn write_lines(out: &mut impl Write, removals: &Removals, json: bool) -> io::Result<()> {
    let mut lines = Vec::new();
    for removed in &removals.removed {
        let reason = removed.reason.name();
        if json {
            let mut object = Map::new();
            object.insert("reason".to_owned(), reason.into());
            object.insert("bytes".to_owned(), removed.bytes.into());
            put_bytes(&mut object, "key", &removed.key);
            writeln!(lines, "{}", Value::Object(object))?;
        } else {
            writeln!(lines, "{reason}\t{}\t{}", removed.bytes, escaped(&removed.key))?;
        }
    }
    match removals.missed {
        0 => {}
        missed if json => writeln!(lines, "{}", json!({ "missed": missed }))?,
        missed => writeln!(lines, "missed\t{missed}")?,
    }
    out.write_all(&lines)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use larder_client::{RemovalReason, Removed};

    use super::*;

    fn lines(missed: u64, json: bool) -> String {
        let removed = |key: &'static [u8], reason| Removed { key: key.into(), reason, bytes: 300 };
        let removed = vec![removed(b"a\tb", RemovalReason::Evicted), removed(b"\xff", RemovalReason::Expired)];
        let mut out = Vec::new();
        write_lines(&mut out, &Removals { node: "n".into(), shard: 1, removed, missed }, json).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_entry_has_a_line_and_what_is_missed_has_one_behind_them() {
        assert_eq!(lines(0, false), "evicted\t300\ta\\tb\nexpired\t300\t\\xff\n");
        assert_eq!(lines(7, false), "evicted\t300\ta\\tb\nexpired\t300\t\\xff\nmissed\t7\n");
        assert_eq!(
            lines(7, true),
            "{\"bytes\":300,\"key\":\"a\\tb\",\"key_encoding\":\"utf-8\",\"reason\":\"evicted\"}\n\
             {\"bytes\":300,\"key\":\"/w==\",\"key_encoding\":\"base64\",\"reason\":\"expired\"}\n{\"missed\":7}\n"
        );
    }
}
