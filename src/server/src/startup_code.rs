//! Gives back the memory of code that only the start needs: reading flags and files takes megabytes of it, and what is
//! needed again is there again, from the page cache, at its next use.
#![allow(unsafe_code)]

use std::ops::Range;
use std::path::Path;
use std::{fs, io};

use rustix::mm::{Advice, madvise};

/// Lets the kernel take the code of this program out of its memory.
///
/// # Errors
/// The kernel does not say where that is, or refuses. Nothing is lost then but the memory.
pub fn give_back() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    for part in parts(&fs::read_to_string("/proc/self/maps")?, &program) {
        // SAFETY: it is a private mapping of a file that may not be written to, so no page of it can differ from the file,
        // from which the next access has it again.
        unsafe { madvise(part.start as *mut _, part.end - part.start, Advice::LinuxDontNeed)? };
    }
    Ok(())
}

/// The parts of the memory that are code of a program, or constants that lie before it in the file, by what the kernel says of
/// all parts. Those that lie behind the code have been changed by the loader.
fn parts(maps: &str, program: &Path) -> Vec<Range<usize>> {
    let part = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?.to_owned());
        // Behind where it is in the file: on which device, its number, and its name.
        let offset = usize::from_str_radix(fields.next()?, 16).ok()?;
        let (start, end) =
            range.split_once('-').filter(|_| fields.nth(2).is_some_and(|path| Path::new(path) == program))?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        Some((rights, offset, range))
    };
    let all: Vec<_> = maps.lines().filter_map(part).collect();
    let code = all.iter().filter(|(rights, ..)| rights == "r-xp").map(|(_, offset, _)| *offset).max();
    let is_unchanged = |rights: &str, offset: usize| match code {
        Some(code) => rights == "r-xp" || rights == "r--p" && offset < code,
        None => false,
    };
    all.into_iter().filter(|(rights, offset, _)| is_unchanged(rights, *offset)).map(|(.., range)| range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_has_changed_stays() {
        let maps = "\
            55d3d76ae000-55d3d7a1c000 r--p 00000000 fe:00 10598878                   /srv/larder\n\
            55d3d7a1c000-55d3d802c000 r-xp 0036d000 fe:00 10598878                   /srv/larder\n\
            55d3d802c000-55d3d809d000 r--p 0097c000 fe:00 10598878                   /srv/larder\n\
            7fb572cfe000-7fb572d24000 r-xp 00000000 fe:00 326279                     /lib/libc.so.6\n\
            7fb572d24000-7fb572d25000 r-xp 00000000 00:00 0\n\
            ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
        let both = [0x55d3d76ae000..0x55d3d7a1c000, 0x55d3d7a1c000..0x55d3d802c000];
        assert_eq!(parts(maps, Path::new("/srv/larder")), both);
        assert!(parts(maps, Path::new("/srv/other")).is_empty());
    }

    #[test]
    fn it_can_be_done_and_the_program_goes_on() {
        give_back().expect("Linux has it");
        assert_eq!("what is needed again".split(' ').count(), 4);
    }
}
