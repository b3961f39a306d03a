//! Files whose bytes are read where they lie: mapped into memory, never copied.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

/// A file and its bytes.
#[derive(Debug)]
struct Mapping {
    map: Mmap,
    file: File,
}

/// Keeps the mapping alive for as long as any slice of it is.
struct Owner(Arc<Mapping>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

/// The files that a model's weights lie in.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<Arc<Mapping>>);

impl Files {
    /// The bytes of the file at `path`. What cannot be mapped (a pipe) is read.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub(crate) fn open(&mut self, path: &Path) -> io::Result<Bytes> {
        let mut file = File::open(path)?;
        let data = file.metadata()?;
        if data.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !data.is_file() {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            return Ok(bytes.into());
        }
        if data.len() == 0 {
            return Ok(Bytes::new());
        }
        #[allow(unsafe_code, reason = "mapping a file is unsafe because another process may change it")]
        // SAFETY: the map is only read. Another process that writes to the file while it is open here can change what
        // is read, as it could with ordinary reads; every use of the bytes checks what it finds.
        let map = unsafe { Mmap::map(&file)? };
        let mapping = Arc::new(Mapping { map, file });
        self.0.push(Arc::clone(&mapping));
        Ok(Bytes::from_owner(Owner(mapping)))
    }

    /// Keep bytes that were computed: those of large tensors in a file of their own without a name, which takes disk in
    /// the place of memory for as long as they are needed. Where there is no room for it, they stay in memory.
    pub(crate) fn keep(&mut self, bytes: Vec<u8>) -> Bytes {
        if bytes.len() < SPILLED {
            return bytes.into();
        }
        match spilled(&bytes) {
            Ok(mapping) => {
                let mapping = Arc::new(mapping);
                self.0.push(Arc::clone(&mapping));
                Bytes::from_owner(Owner(mapping))
            }
            Err(error) => {
                tracing::debug!(%error, "computed weights stay in memory");
                bytes.into()
            }
        }
    }

    /// The files of another model too.
    pub(crate) fn add(&mut self, other: &Files) {
        self.0.extend(other.0.iter().cloned());
    }

    /// The file that `bytes` are a part of and where they begin in it.
    pub(crate) fn locate(&self, bytes: &[u8]) -> Option<(&File, u64)> {
        let (mapping, offset) = self.find(bytes)?;
        Some((&mapping.file, u64::try_from(offset).ok()?))
    }

    fn find(&self, bytes: &[u8]) -> Option<(&Mapping, usize)> {
        let start = bytes.as_ptr().addr();
        self.0.iter().find_map(|mapping| {
            let base = mapping.map.as_ptr().addr();
            let offset = start.checked_sub(base)?;
            let inside = offset.checked_add(bytes.len())? <= mapping.map.len();
            inside.then_some((&**mapping, offset))
        })
    }

    /// Have these bytes read from their file, while something else is done. They will be asked for soon.
    pub(crate) fn will_need(&self, bytes: &[u8]) {
        #[cfg(unix)]
        if let Some((mapping, offset)) = self.find(bytes)
            && let Err(error) = mapping.map.advise_range(memmap2::Advice::WillNeed, offset, bytes.len())
        {
            tracing::debug!(%error, "pages are read when they are asked for");
        }
    }

    /// Give back the memory that reading the weights has filled. They are read again from the file when asked for.
    pub fn release(&self) {
        #[cfg(unix)]
        for mapping in &self.0 {
            #[allow(unsafe_code, reason = "dropping pages of a private, written map would lose data")]
            // SAFETY: the map is read-only and of a file, so its pages hold nothing that the file does not.
            let advised = unsafe { mapping.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            if let Err(error) = advised {
                tracing::debug!(%error, "pages stay in memory");
            }
        }
    }
}

/// Computed tensors of so many bytes are kept in files.
const SPILLED: usize = 1 << 20;

/// A file of these bytes, in the system's folder for what is temporary, which goes when it is closed.
fn spilled(bytes: &[u8]) -> io::Result<Mapping> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    #[allow(unsafe_code, reason = "mapping a file is unsafe because another process may change it")]
    // SAFETY: the file has no name, so no other process writes to it; this one does not after this.
    let map = unsafe { Mmap::map(&file)? };
    Ok(Mapping { map, file })
}

/// All of standard input.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn stdin() -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
