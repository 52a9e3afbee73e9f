//! Disks that are full.

use std::path::Path;
use std::process::Command;

/// A file system of its own, made full and given room again; gone when dropped.
pub(crate) struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Makes one of `size` at `folder`.
    pub(crate) fn mount(folder: &'a Path, size: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tideway-test"])
            .arg(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "this test needs the right to mount a small file system: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self(folder)
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, size: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(self.0)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
