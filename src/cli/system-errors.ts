/** Errors of the operating system, in plain words. */

const WORDS: Readonly<Record<string, string>> = {
  EACCES: "no permission",
  EPERM: "no permission",
  EROFS: "the file system is read-only",
  ENOSPC: "no space is left on the device",
  EDQUOT: "the disk quota is used up",
  EFBIG: "the file would be too large",
  EIO: "the device reports an input or output error",
  ENOENT: "there is no such file or folder",
  ENOTDIR: "a part of the path is no folder",
  EISDIR: "it is a folder",
  EPIPE: "the reader has closed the pipe",
  ENXIO: "there is nothing at the other end",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "its symbolic links form a loop",
};

/** One line, without the call and the path that Node adds. */
export function messageOfSystem(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return WORDS[code] ?? (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, "; ");
}
