// The map of the fake server: what commands do to it, and its entries as answers.

fn set(entries: &mut HashMap<(u64, Vec<u8>), Stored>, group: u64, write: &Write<'_>) -> Result<u64, Status> {
    let at = (group, write.key.to_vec());
    let before = entries.get(&at).map(|stored| stored.version);
    match (write.condition, before) {
        (Condition::Absent, Some(_)) => return Err(Status::Exists),
        (Condition::Present | Condition::Version(_), None) => return Err(Status::NotFound),
        (Condition::Version(wanted), Some(version)) if wanted != version => return Err(Status::VersionMismatch),
        _ => {}
    }
    let version = before.unwrap_or(0) + 1;
    let value = write.value.to_vec();
    entries.insert(at, Stored { value, flags: write.flags, version, ttl_ms: ttl_ms(write.expiry) });
    Ok(version)
}

fn ttl_ms(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::After(ms) => ms,
        Expiry::Default | Expiry::Never | Expiry::At(_) | Expiry::Keep => 0,
    }
}

/// Two keys at a time, in their order; the cursor is the last of them.
fn page(keys: &mut Vec<&Vec<u8>>, step: &ScanStep<'_>) -> pb::ScanResult {
    keys.retain(|key| step.cursor.is_empty() || step.cursor < &key[..]);
    keys.sort_unstable();
    let cursor = if keys.len() > 2 { keys[1].clone() } else { Vec::new() };
    pb::ScanResult { cursor, keys: keys.iter().take(2).map(|key| (*key).clone()).collect() }
}

fn describe<'a>(command: &Command<'a>) -> (&'static str, &'a [u8], usize) {
    match *command {
        Command::Get { key } => ("get", key, 1),
        Command::GetMany { keys } => ("get_many", keys.iter().next().unwrap_or_default(), keys.len()),
        Command::Set(write) => ("set", write.key, 1),
        Command::SetMany { entries } => ("set_many", entries.iter().next().map_or(&[], |w| w.key), entries.len()),
        Command::Delete { key, .. } => ("delete", key, 1),
        Command::DeleteMany { keys } => ("delete_many", keys.iter().next().unwrap_or_default(), keys.len()),
        Command::Touch { key, .. } | Command::GetAndTouch { key, .. } => ("touch", key, 1),
        Command::Increment { key, .. } => ("increment", key, 1),
        Command::Append { key, .. } | Command::Prepend { key, .. } => ("append", key, 1),
        Command::Topology => ("topology", &[], 0),
        Command::Watch => ("watch", &[], 0),
        Command::Scan(ScanStep { cursor, .. }) => ("scan", cursor, 0),
        Command::AlterGroup(GroupAlteration { name, .. }) => ("alter_group", name.as_bytes(), 0),
        _ => ("other", &[], 0),
    }
}

impl Stored {
    fn view(&self) -> Found<'_> {
        Found { value: Value::Whole(&self.value), flags: self.flags, version: self.version, ttl_ms: self.ttl_ms, is_stale: false }
    }
}

#[derive(Debug)]
struct Many(Vec<Result<Stored, Status>>);

impl Entries for Many {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn entry(&self, index: usize) -> Result<Found<'_>, Status> {
        self.0[index].as_ref().map(Stored::view).map_err(|status| *status)
    }
}

#[derive(Debug)]
struct Done(Vec<Result<u64, Status>>);

impl Outcomes for Done {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn outcome(&self, index: usize) -> Result<u64, Status> {
        self.0[index]
    }
}
