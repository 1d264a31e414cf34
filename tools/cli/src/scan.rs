//! Keys as they come: a scan may be longer than memory and patience are.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use larder_client::{Bytes, Client, ScanOptions};

use crate::text::escaped;

/// Writes the keys of a scan, one on each line, page by page, until there is no more or nobody reads on.
pub(crate) async fn print(client: &Client, options: ScanOptions) -> anyhow::Result<()> {
    let mut scan = client.scan(options)?;
    while let Some(keys) = scan.next_page().await? {
        match write_lines(&keys) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => written.context("cannot write to standard output")?,
        }
    }
    Ok(())
}

/// All keys of a scan.
pub(crate) async fn collect(client: &Client, options: ScanOptions) -> anyhow::Result<Vec<Bytes>> {
    let (mut scan, mut all) = (client.scan(options)?, Vec::new());
    while let Some(keys) = scan.next_page().await? {
        all.extend(keys);
    }
    Ok(all)
}

fn write_lines(keys: &[Bytes]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    keys.iter().try_for_each(|key| writeln!(out, "{}", escaped(key)))?;
    out.flush()
}
