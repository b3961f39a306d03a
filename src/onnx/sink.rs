//! Encoded messages on their way to a file: small pieces are gathered, weights pass through without a copy.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut, BytesMut};

use crate::mapped::Files;

/// Pieces this large are not gathered.
const LARGE: usize = 64 * 1024;

/// Pieces this large are copied from file to file where they lie in one, without passing through memory.
const HUGE: usize = 1024 * 1024;

/// Where encoded bytes go.
pub(super) enum Target<'a> {
    /// A file, which the system can fill from another.
    File(&'a mut File),
    /// Anything else.
    Stream(&'a mut dyn Write),
}

/// Takes what prost encodes. The first error is kept, and everything after it dropped.
pub(super) struct Sink<'a> {
    target: Target<'a>,
    files: &'a Files,
    gathered: BytesMut,
    written: u64,
    error: Option<io::Error>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(target: Target<'a>, files: &'a Files) -> Sink<'a> {
        Sink { target, files, gathered: BytesMut::with_capacity(2 * LARGE), written: 0, error: None }
    }

    /// How many bytes have been taken.
    pub(super) fn position(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    /// Send what is gathered. Returns how many bytes there were in all.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.flush();
        if let (None, Target::Stream(out)) = (&self.error, &mut self.target) {
            out.flush()?;
        }
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.written),
        }
    }

    fn flush(&mut self) {
        let gathered = self.gathered.split();
        self.send(&gathered);
        // The buffer is taken back only when nothing refers to it.
        drop(gathered);
        self.gathered.reserve(2 * LARGE);
    }

    fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.error.is_some() {
            return;
        }
        self.written += bytes.len() as u64;
        let done = match &mut self.target {
            Target::Stream(out) => out.write_all(bytes),
            Target::File(out) => match self.files.locate(bytes).filter(|_| bytes.len() >= HUGE) {
                Some((source, offset)) => copy(source, offset, bytes.len() as u64, out),
                None => out.write_all(bytes),
            },
        };
        self.error = done.err();
    }
}

/// Copy a part of one file to the end of another.
fn copy(mut source: &File, offset: u64, length: u64, out: &mut File) -> io::Result<()> {
    source.seek(SeekFrom::Start(offset))?;
    let copied = io::copy(&mut io::Read::take(source, length), out)?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[allow(unsafe_code, reason = "BufMut is an unsafe trait")]
// SAFETY: `chunk_mut` and `advance_mut` are those of the gathering buffer, which `BytesMut` implements soundly.
unsafe impl BufMut for Sink<'_> {
    fn remaining_mut(&self) -> usize {
        usize::MAX - self.gathered.len()
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        // SAFETY: the caller has filled `count` bytes of the chunk that `chunk_mut` gave.
        unsafe { self.gathered.advance_mut(count) }
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.gathered.len() >= LARGE {
            self.flush();
        }
        self.gathered.chunk_mut()
    }

    fn put<T: Buf>(&mut self, mut source: T) {
        while source.has_remaining() {
            let chunk = source.chunk();
            let length = chunk.len();
            self.put_slice(chunk);
            source.advance(length);
        }
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        if bytes.len() >= LARGE {
            self.flush();
            self.send(bytes);
        } else {
            if self.gathered.len() >= LARGE {
                self.flush();
            }
            self.gathered.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_size_arrive_in_order() {
        let mut out = Vec::new();
        let files = Files::default();
        let mut sink = Sink::new(Target::Stream(&mut out), &files);
        let mut expected = Vec::new();
        for (i, length) in [1, 3, LARGE - 1, LARGE, 5, 3 * LARGE, 0, 7].into_iter().enumerate() {
            let piece = vec![u8::try_from(i).unwrap(); length];
            sink.put_slice(&piece);
            prost::encoding::encode_varint(length as u64, &mut sink);
            expected.extend(&piece);
            prost::encoding::encode_varint(length as u64, &mut expected);
            assert_eq!(sink.position(), expected.len() as u64);
        }
        assert_eq!(sink.finish().unwrap(), expected.len() as u64);
        assert_eq!(out, expected);
    }
}
