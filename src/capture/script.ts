/** The same capture as a POSIX shell script, for a machine without iova or without Node. */
import type { CaptureOptions } from "./capture.ts";
import { LOG_MEMBER, MEMBERS, TRACE_MEMBER } from "./members.ts";
import { BUFFER_KIB, planOf, RECORDER, type Setting, START_MARK, TRACEFS_PLACES } from "./plan.ts";

/** Messages of a fault, as grep finds them; `iova explain` knows many more. */
const FAULTS = [
  "DMAR:.*(fault addr|fault index|PTE Read|PTE Write)",
  "AMD-Vi:.*(Event logged|IO_PAGE_FAULT|Completion-Wait)",
  "Unhandled context fault",
  "arm-smmu.*event 0x[0-9a-f]+ received",
  "iommu.*([Pp]age fault|fault type|fault on|fault at)",
  "iommu_alloc failed",
  "PTE for vPFN .* already set",
];

/** The script; it records until the first fault, `seconds`, or Ctrl-C, and writes an archive like that of `iova capture`. */
export function scriptOf({ seconds, bufferKib = BUFFER_KIB, device, stacks }: CaptureOptions): string {
  const { recorder } = planOf({
    bufferKib,
    ...(device === undefined ? {} : { device }),
    ...(stacks === undefined ? {} : { stacks }),
  });
  return `${[HEAD, ...recorder.map(lineOf), loopOf(seconds), GATHER].join("\n")}\n`;
}

function lineOf({ path, value, isOptional, unless }: Setting): string {
  const put = `${isOptional ? "put_if_there" : "put"} ${path} ${quoted(value)}`;
  return unless === undefined ? put : `[ -e "$recorder/${unless}" ] || ${put}`;
}

function quoted(text: string): string {
  return /^[\w.:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

const HEAD = `#!/bin/sh
# Records what the IOMMU does, in a tracefs instance of its own, and puts every setting back. Run as root; Ctrl-C ends it.
# It writes an archive for: iova explain FILE.tar.gz
set -u
fail() { echo "capture: $1" >&2; exit 2; }
[ "$(id -u)" = 0 ] || fail "needs root: sudo sh FILE, or iova capture --dry-run | sudo sh"
for tracefs in ${TRACEFS_PLACES.join(" ")} ""; do [ -d "$tracefs/instances" ] && break; done
[ -n "$tracefs" ] || fail "tracefs is not mounted: mount -t tracefs nodev ${TRACEFS_PLACES[0]} (a container may not: run it on the host)"
[ -d "$tracefs/events/iommu" ] || [ -d "$tracefs/events/dma" ] || fail "$tracefs/events has neither iommu nor dma: boot a kernel of a distribution"
recorder=$tracefs/instances/${RECORDER}
if [ -d "$recorder" ]; then
  rmdir "$recorder" 2>/dev/null || fail "$recorder is in use: another capture is running"
  echo "removed what a killed capture had left"
fi
name=iova-$(date +%Y%m%d-%H%M%S)
work=$(mktemp -d) || exit 3
restore() {
  exec 3<&-
  if [ -d "$recorder" ]; then
    echo 0 > "$recorder/tracing_on"
    rmdir "$recorder" || echo "capture: $recorder is left; remove it with: rmdir $recorder" >&2
  fi
  rm -rf "$work"
}
trap restore EXIT
stopped=
trap 'stopped=yes' INT TERM HUP
put() { printf '%s' "$2" > "$recorder/$1" || exit 3; }
put_if_there() { if [ -e "$recorder/$1" ]; then put "$1" "$2"; fi; }
mkdir "$recorder" || exit 3
# An open file keeps other captures from removing the instance.
exec 3< "$recorder/trace_pipe"
`;

function loopOf(seconds: number | undefined): string {
  const limit = seconds === undefined ? "" : ` && [ "$elapsed" -lt ${Math.ceil(seconds)} ]`;
  return `
mark="${START_MARK} ($$)"
# Without the mark the kernel's log can't be watched from here on.
{ echo "$mark" > /dev/kmsg; } 2>/dev/null || echo "capture: /dev/kmsg can't be written: a fault does not end the recording, Ctrl-C does" >&2
echo "recording until the first fault${seconds === undefined ? "" : `, ${Math.ceil(seconds)} s`} or Ctrl-C" >&2
elapsed=0
while [ -z "$stopped" ]${limit}; do
  dmesg | sed -n "/$mark/,\\$p" | grep -qE '${FAULTS.join("|")}' && break
  sleep 1
  elapsed=$((elapsed + 1))
done
echo 0 > "$recorder/tracing_on"`;
}

const GATHER = `
mkdir "$work/$name"
cat "$recorder/trace" > "$work/$name/${TRACE_MEMBER}" || exit 3
dmesg > "$work/$name/${LOG_MEMBER}"
${MEMBERS.map(({ name, command }) => `{ ${command}; } > "$work/$name/${name}" 2>/dev/null`).join("\n")}
tar -C "$work" -czf "$name.tar.gz" "$name" || { rm -f "$name.tar.gz"; exit 3; }
echo "$name.tar.gz"`;
