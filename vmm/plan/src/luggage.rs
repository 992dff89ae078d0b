//! What a scenario brings into a guest that runs already, in pieces that fit into requests.

use initramfs::{Initramfs, Kind};
use protocol::{Content, Frames, Placed, encode_up_to};
use std::io::{self, Read};

/// A piece, in bytes of files' content.
const PIECE: usize = 1 << 20;

/// With a path and what else belongs to a file, so much is counted.
const ENTRY: usize = 4200;

/// A frame with a piece in it is no longer.
const LONGEST: usize = 4 * PIECE;

/// What one archive has beyond another, as frames of [`Placed`]. Device nodes are in every guest's own image.
pub fn pack(whole: &Initramfs, base: &Initramfs) -> Vec<u8> {
    let (mut packed, mut piece, mut room) = (Vec::new(), Vec::new(), PIECE);
    let mut add = |path: &str, mode: u32, content: Content| {
        let size =
            ENTRY + if let Content::File(bytes) | Content::More(bytes) = &content { bytes.len() } else { 0 };
        if size > room && !piece.is_empty() {
            packed.extend(frame(&std::mem::take(&mut piece)));
            room = PIECE;
        }
        room = room.saturating_sub(size);
        piece.push(Placed { path: format!("/{path}"), mode, content });
    };
    for extra in whole.beyond(base) {
        let (path, mode) = (extra.path, extra.mode);
        match extra.kind {
            Kind::Dir { asked_for: true } => add(path, mode, Content::Folder),
            Kind::Dir { asked_for: false } => add(path, mode, Content::Parent),
            Kind::Symlink(target) => add(path, mode, Content::Link(target.clone())),
            Kind::File(bytes) => {
                let (first, rest) = bytes.split_at(bytes.len().min(PIECE));
                add(path, mode, Content::File(first.to_vec()));
                rest.chunks(PIECE).for_each(|more| add(path, mode, Content::More(more.to_vec())));
            }
            Kind::Node { .. } => {}
        }
    }
    if !piece.is_empty() {
        packed.extend(frame(&piece));
    }
    packed
}

fn frame(piece: &Vec<Placed>) -> Vec<u8> {
    encode_up_to(LONGEST, piece).expect("a piece is shorter than a frame may be")
}

/// Takes the pieces out again, one after the other; of all that was packed no more is in memory than one of them.
pub struct Luggage<R> {
    packed: R,
    frames: Frames,
    bytes: Box<[u8]>,
}

impl<R: Read> Luggage<R> {
    /// Of what [`pack`] returned.
    pub fn new(packed: R) -> Self {
        Self { packed, frames: Frames::up_to(LONGEST), bytes: vec![0; 256 << 10].into_boxed_slice() }
    }

    fn piece(&mut self) -> io::Result<Option<Vec<Placed>>> {
        loop {
            if let Some(piece) = self.frames.next().map_err(io::Error::other)? {
                return Ok(Some(piece));
            }
            match self.packed.read(&mut self.bytes)? {
                0 => return Ok(None),
                length => self.frames.push(&self.bytes[..length]),
            }
        }
    }
}

impl<R: Read> Iterator for Luggage<R> {
    type Item = io::Result<Vec<Placed>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.piece().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_many_come_in_pieces_and_in_order() {
        let mut base = Initramfs::new();
        base.dir("/etc", 0o755).unwrap().file("/init", 0o755, *b"agent").unwrap();
        base.symlink("/etc/tool", "busybox").unwrap();
        let mut whole = Initramfs::new();
        whole.dir("/etc", 0o755).unwrap().file("/init", 0o755, *b"agent").unwrap();
        let long: Vec<u8> = (0..5 * PIECE / 2).map(|byte| (byte % 251) as u8).collect();
        whole.file("/etc/tool", 0o700, *b"mine").unwrap().file("/lib/long", 0o644, long.clone()).unwrap();
        whole.symlink("/lib/link", "long").unwrap();
        (0..1000).for_each(|n| _ = whole.file(&format!("/n/{n:04}"), 0o600, vec![]).unwrap());
        let pieces: Vec<Vec<Placed>> =
            Luggage::new(&pack(&whole, &base)[..]).collect::<Result<_, _>>().unwrap();
        assert!(pieces.len() > 5, "{}", pieces.len());
        let all: Vec<&Placed> = pieces.iter().flatten().collect();
        let paths: Vec<&str> = all.iter().map(|placed| placed.path.as_str()).take(7).collect();
        assert_eq!(paths, ["/etc/tool", "/lib", "/lib/link", "/lib/long", "/lib/long", "/lib/long", "/n"]);
        assert_eq!((&all[0].content, &all[1].content), (&Content::File(b"mine".to_vec()), &Content::Parent));
        let content = all.iter().filter_map(|placed| match &placed.content {
            Content::File(bytes) | Content::More(bytes) if placed.path == "/lib/long" => Some(bytes.clone()),
            _ => None,
        });
        assert!(content.collect::<Vec<_>>().concat() == long);
        assert_eq!(all.len(), 1007);
        assert!(pack(&base, &base).is_empty());
    }
}
