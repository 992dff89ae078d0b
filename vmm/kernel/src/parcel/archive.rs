//! The entries of an archive, none of which takes memory by what it says of itself.
//!
//! A name that is too long for a header stands in an entry before it (GNU's, tar(5)), whose length is anything. `tar` would read all of it.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::PathBuf,
};
use tar::{Archive, Entries, Entry, EntryType};

/// No name is longer, in bytes.
const LONGEST: u64 = 64 << 10;

/// An entry with its names.
pub struct Named<'a, R: Read> {
    /// Its path.
    pub path: PathBuf,
    /// Where it leads, if it is a link.
    pub link: Option<PathBuf>,
    /// Its header, and its content.
    pub entry: Entry<'a, R>,
}

/// Reads an archive's entries.
pub struct All<'a, R: Read>(Entries<'a, R>);

impl<'a, R: Read> All<'a, R> {
    /// From its beginning.
    pub fn of(archive: &'a mut Archive<R>) -> io::Result<Self> {
        Ok(Self(archive.entries()?.raw(true)))
    }

    fn read(&mut self) -> io::Result<Option<Named<'a, R>>> {
        let (mut path, mut link) = (None, None);
        while let Some(mut entry) = self.0.next().transpose()? {
            match entry.header().entry_type() {
                EntryType::GNULongName => path = Some(name(&mut entry)?),
                EntryType::GNULongLink => link = Some(name(&mut entry)?),
                EntryType::XHeader | EntryType::XGlobalHeader => {
                    return Err(io::Error::other("it has headers of another tar's"));
                }
                _ => {
                    let path = path.map_or_else(|| entry.path().map(Into::into), Ok)?;
                    let link = match link {
                        None => entry.link_name()?.map(Into::into),
                        link => link,
                    };
                    return Ok(Some(Named { path, link, entry }));
                }
            }
        }
        Ok(None)
    }
}

impl<'a, R: Read> Iterator for All<'a, R> {
    type Item = io::Result<Named<'a, R>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn name(entry: &mut impl Read) -> io::Result<PathBuf> {
    let mut bytes = Vec::new();
    entry.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it has a name of more than {LONGEST} bytes")));
    }
    // As C has it.
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(OsString::from_vec(bytes).into())
}
