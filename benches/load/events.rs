//! Counts the events that linkseal's file sink has written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Fallible;
use crate::arguments::{Arguments, Expected};

/// Limit for all events to arrive, on a slow disk too.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two looks at the files.
const INTERVAL: Duration = Duration::from_millis(20);
/// How much of a file is read at a time.
const CHUNK: usize = 1 << 20;

pub(crate) struct Events {
    /// `None`: the server has no events.
    dir: Option<PathBuf>,
    /// How far each file has been read: to the end of a line.
    read: HashMap<PathBuf, u64>,
    /// What each line of an event in question contains.
    mark: &'static [u8],
}

impl Events {
    /// Counts from now on.
    pub(crate) fn new(arguments: &Arguments) -> Fallible<Self> {
        let mut events = Self {
            dir: arguments.delivered.clone(),
            read: HashMap::new(),
            mark: match arguments.expected {
                Expected::Body(_) => br#""type":"open""#,
                Expected::Location(_) => br#""type":"click""#,
            },
        };
        for file in events.files()? {
            let length = fs::metadata(&file)?.len();
            events.read.insert(file, length);
        }
        Ok(events)
    }

    /// Waits until as many more events have arrived. More is an error, and so is too long a wait.
    pub(crate) async fn arrived(&mut self, expected: u64) -> Fallible<()> {
        let begun = Instant::now();
        let mut count = 0;
        while self.dir.is_some() {
            count += self.count()?;
            if count > expected || begun.elapsed() > TIMEOUT {
                return Err(format!("{expected} requests were answered, {count} events have arrived").into());
            }
            if count == expected {
                break;
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }

    fn files(&self) -> Fallible<Vec<PathBuf>> {
        let Some(dir) = self.dir.as_ref().filter(|dir| dir.exists()) else {
            return Ok(Vec::new());
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            files.push(entry?.path());
        }
        Ok(files)
    }

    fn count(&mut self) -> Fallible<u64> {
        let mut count = 0;
        for path in self.files()? {
            let read = self.read.entry(path.clone()).or_default();
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(*read))?;
            let mut chunk = Vec::with_capacity(CHUNK);
            loop {
                // `chunk` begins with the half line of the one before.
                let half = chunk.len();
                file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
                let Some(end) = chunk.iter().rposition(|b| *b == b'\n') else {
                    break;
                };
                let full = chunk.len() - half == CHUNK;
                let rest = chunk.split_off(end + 1);
                count += chunk
                    .split(|b| *b == b'\n')
                    .filter(|line| line.windows(self.mark.len()).any(|w| w == self.mark))
                    .count() as u64;
                *read += end as u64 + 1;
                chunk = rest;
                if !full {
                    break;
                }
            }
        }
        Ok(count)
    }
}
