//! Names that another name may be a slip of.

/// Names among `known` that `name` may be a slip of, best first: at most three.
pub fn similar<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let limit = (name.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .map(|k| (if k.contains(name) && name.len() > 2 { 1 } else { distance(name, k) }, k))
        .filter(|(d, _)| *d <= limit)
        .collect();
    found.sort_unstable();
    found.into_iter().take(3).map(|(_, k)| k.to_string()).collect()
}

/// Edits (insert, delete, change one character) that make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognized() {
        let known = ["fold-batchnorm", "drop-identity", "drop-cast", "fuse-gelu"];
        assert_eq!(similar("fold-batchnrom", known), ["fold-batchnorm"]);
        assert_eq!(similar("batchnorm", known), ["fold-batchnorm"]);
        assert_eq!(similar("quantize", known), [""; 0]);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "abc")), (3, 3, 0));
    }
}
