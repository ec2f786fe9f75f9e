/**
 * The prefilter: which lines are worth a closer look. It is tried on every line of a log, so it is one pattern of plain words. A word that a shape's
 * message always begins with must stand here; the test of the families holds it.
 */

/** A line without one of these begins no message of any shape. */
const WORDS: readonly string[] = [
  // IOMMUs and their faults.
  "AMD-Vi",
  "DMAR",
  "DRHD",
  "INTR-REMAP",
  "[Ii][Oo]?_?MMU",
  "iommu",
  "[Ss][Mm][Mm][Uu]",
  "fault",
  "FAULT",
  "_TABLE_ENTRY",
  "_HARDWARE_ERROR",
  "IOTLB_INV|INVALID_DEV|INVALID_PPR|ILLEGAL_COMMAND|RMP_HW|Completion-Wait",
  "DTE\\[",
  "FSR",
  "FSYNR",
  "0x[0-9a-f]{16}",
  "[0-9a-f]{8} [0-9a-f]{8}",
  "vtd_",
  "PSYCHO|SCHIZO|SABRE|TOMATILLO",
  "amdvi_|smmuv3-iommu",
  "\\bl[1-6]\\[",
  "EEH",
  "DMA",
  "dma",
  "swiotlb|SWIOTLB",
  "vfio|VFIO",
  "EAL:",
  "suppressed|printk messages dropped|issed \\d+ kernel",
  "WARN",
  "lockup|LOCKUP|blocked for more|detected stall",
  "iova|IOVA|IommuDma",
  "cmdq|qi_submit|qi_flush|fq_(?:flush|ring)",
  "viable|MEMLOCK|interrupt remapping|RMRR|Please ensure all devices",
  "tegra-mc|leaked entries",
  // The machine.
  "Linux version|Linux \\S+ \\d",
  "ommand line",
  "Comm:",
  "systemd\\[1\\]",
  "/\\S*init as init",
  "unused kernel",
  "sched_clock",
  "elfcorehdr|kexec",
  "BIOS-e820|System RAM|framebuffer|ITS \\[",
  "[0-9a-f]{2}:[0-9a-f]{2}\\.[0-7]",
  "Memory at|Kernel driver",
  // Events of devices.
  "[Rr]eset|RESET|Restart|recover",
  "[Tt]ime[d-]?[ -]?out|hung|HANG|Hang|not responding|assume dead",
  "firmware|[Ff]irmware crash|SYS_ERR|Microcode",
  "[Ll]ink (?:is )?[Dd]own|PCIe link",
  "AER:|D3cold|power state",
  "PM: |Freezing|Waking up|reboot:|systemd-shutdown",
  "[Uu]nb(?:ind|ound)|Removing|[Ss]hutting down|shutdown",
  "disabling translation|bypass window",
  "Out of memory|oom-kill|NETDEV|\\[drm",
];

export const CANDIDATE: RegExp = new RegExp(WORDS.join("|"));
