use std::path::PathBuf;

use control::Record;

use crate::{Error, Journal, Records};

/// A journal that forgets with its process, for tests. It keeps texts, as the one on disk does, so that what cannot be
/// written and read back fails here too.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    texts: Vec<String>,
}

impl Journal for MemoryJournal {
    fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let number = self.texts.len() as u64 + 1;
        let texts: Result<Vec<_>, _> = records.iter().map(Record::to_json).collect();
        self.texts.extend(texts.map_err(|source| Error::Record {
            path: place(),
            number,
            source,
        })?);
        Ok(())
    }

    fn records(&self) -> Result<Records<'_>, Error> {
        let records = self.texts.iter().zip(1..).map(|(text, number)| {
            Record::from_json(text).map_err(|source| Error::Record {
                path: place(),
                number,
                source,
            })
        });
        Ok(Box::new(records))
    }
}

fn place() -> PathBuf {
    PathBuf::from("(memory)")
}
