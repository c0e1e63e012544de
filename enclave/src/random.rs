//! Random bytes from the kernel.

use std::cell::RefCell;

use claim::hex;

/// Bytes drawn at once for ids, which are no secrets: one system call serves 64 of them.
const DRAWN: usize = 1024;

thread_local! {
    static IDS: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

/// Fills an array from the kernel's generator.
///
/// # Errors
/// When the kernel has none; nothing is served then.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A random UUID (RFC 9562, version 4).
///
/// # Errors
/// As [`bytes`].
pub(crate) fn uuid() -> Result<String, getrandom::Error> {
    let mut bytes = id_bytes()?;
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let places = text.iter_mut().enumerate().filter(|(index, _)| !matches!(index, 8 | 13 | 18 | 23));
    for ((_, place), digit) in places.zip(bytes.into_iter().flat_map(hex::pair)) {
        *place = digit;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// 16 bytes that were given out to nobody else.
fn id_bytes() -> Result<[u8; 16], getrandom::Error> {
    IDS.with_borrow_mut(|ids| {
        if let Some(bytes) = ids.pop() {
            return Ok(bytes);
        }
        let drawn: [u8; DRAWN] = bytes()?;
        ids.extend_from_slice(drawn.as_chunks().0);
        ids.pop().ok_or(getrandom::Error::UNEXPECTED)
    })
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn uuids_have_their_version_and_variant() {
        let id = uuid().unwrap();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        let many: std::collections::BTreeSet<String> = (0..1000).map(|_| uuid().unwrap()).collect();
        assert_eq!(many.len(), 1000);
    }
}
