"""The list of known holes of hypervisors, and where each is tried on ours.

Ids are those of advisories and bug classes: B of bhyve's family, H of xhyve's,
V virtio, P PCI, A AHCI, N NVMe, D disk images, X xHCI, E e1000, F of other
devices, R of the screen, G of the debugger, C of the control socket, S state,
L loaders, K the processor.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Played:
    """A row that a program of tests/hostile or tests/device plays by its id."""

    program: str


@dataclass(frozen=True)
class Test:
    """A row that is a test of its own: FILE::FUNCTION, or a guest FILE.S."""

    place: str
    guests: tuple[str, ...] = ()  # more of them, where one does not hold it all


@dataclass(frozen=True)
class NotBuilt:
    """A device that is not there; files below csrc that would change that."""

    device: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class NotOurs:
    """A row that no code of this project can have, and why."""

    why: str


MACHINE, VIRTIO, NET = Played("machine"), Played("virtio"), Played("net")
XHCI = NotBuilt("xHCI", ("*xhci*.c",))
HDA = NotBuilt("HD Audio", ("*hda*.c",))
SCSI = NotBuilt("virtio-scsi", ("*virtio_scsi*.c",))
P9 = NotBuilt("virtio-9p", ("*virtio_9p*.c",))
TPM = NotBuilt("TPM", ("*tpm*.c",))
FBUF = NotBuilt("frame buffer", ("*fbuf*.c", "bhyvegc.c"))
VGA = NotBuilt("VGA", ("vga*.c",))
RFB = NotBuilt("VNC server", ("rfb*.c",))
VSOCK = NotBuilt("virtio-vsock", ("*vsock*.c",))

HOSTILE64 = Test("core/test_cpu_guests.py::hostile64")
LOAD = "load/test_hostile.py::"

ROWS: dict[str, Played | Test | NotBuilt | NotOurs] = {
    "B01_vga_dac_index": VGA,
    "B02_map_gpa_wrap": MACHINE,
    "B03_fwctl_short_req": MACHINE,
    "B04_xhci_doorbell_epid": XHCI,
    "B05_e1000_tso_hdrlen": NET,
    "B06_vmcs_write_by_ctl": MACHINE,
    "B07_svm_insns_trap": HOSTILE64,
    "B08_vq_getchain_err": VIRTIO,
    "B09_e1000_cksum_off": NET,
    "B10_9p_rwalk": P9,
    "B11_fwctl_string": MACHINE,
    "B12_loader_hostpath": Test(LOAD + "test_links_out_of_the_folder"),
    "B13_loader_cmds": Test("load/test_prompt.py::test_the_everyday_commands"),
    "B14_nv_ipc": MACHINE,
    "B15_tpm_mmio": TPM,
    "B16_scsi_write_buffer_uaf": SCSI,
    "B17_scsi_uninit": SCSI,
    "B18_scsi_rsoc": SCSI,
    "B19_sense_leak": SCSI,
    "B20_scsi_pr_out_alloc": SCSI,
    "B21_xhci_oob_write": XHCI,
    "B22_xhci_slot": XHCI,
    "B23_nvme_logpage": MACHINE,
    "B24_vq_toctou": VIRTIO,
    "B25_hda_corb_loop": HDA,
    "B26_hda_codec_idx": HDA,
    "B27_nvme_queue_loop": MACHINE,
    "B28_umtx": NotOurs("a hole of FreeBSD's kernel"),
    "B29_xhci_erst": XHCI,
    "B30_hda_bdl_zero": HDA,
    "B31_fbuf_resize": FBUF,
    "B32_fbuf_baddr": FBUF,
    "B33_cpu_sidechannel": Test("core/test_cpu_guests.py::debug32"),
    "B40_hda_reg_offset": HDA,
    "B41_nvme_prp1_zero": MACHINE,
    "B42_nvme_prplist_512": MACHINE,
    "B43_nvme_prp_cross": MACHINE,
    "B44_nvme_init": MACHINE,
    "B45_e1000_tdba": NET,
    "B46_bar64_sizing": MACHINE,
    "B47_bar_overlap_assert": MACHINE,
    "B48_msix_pba_bar": MACHINE,
    "B49_cfg_unaligned": MACHINE,
    "B50_cr0_pg_lma": HOSTILE64,
    "B51_hda_bdle_assert": HDA,
    "H01_no_config_handlers": MACHINE,
    "H02_rnd_getchain": VIRTIO,
    "H03_vsock_getchain": VSOCK,
    "H04_blk_discard": VIRTIO,
    "H05_vsock_tail": VSOCK,
    "H06_9p_reply_len": P9,
    "H07_ident_string": MACHINE,
    "V01_chain_loop": VIRTIO,
    "V02_chain_total": VIRTIO,
    "V03_indirect_nested": VIRTIO,
    "V04_zero_len": VIRTIO,
    "V05_huge_len": VIRTIO,
    "V06_gpa_out": VIRTIO,
    "V07_avail_jump": VIRTIO,
    "V08_dup_head": VIRTIO,
    "V09_qsize_change": VIRTIO,
    "V10_status_fsm": VIRTIO,
    "V11_direction": VIRTIO,
    "V12_ring_move": VIRTIO,
    "V13_toctou": VIRTIO,
    "V14_torn": VIRTIO,
    "V15_dev_alloc": VIRTIO,
    "V16_blk_req": VIRTIO,
    "V17_vsock_cid": VSOCK,
    "V18_cfgspace": VIRTIO,
    "V19_notify_idx": VIRTIO,
    "V20_net_hdr": NET,
    "P01_cfg_access": MACHINE,
    "P02_bar_over_everything": MACHINE,
    "P03_bar_move_live": MACHINE,
    "P04_decode_off_inflight": MACHINE,
    "P05_dma_to_mmio": MACHINE,
    "P06_msix_table": MACHINE,
    "P07_msix_addr": MACHINE,
    "P08_cap_chain": MACHINE,
    "P09_intx_storm": MACHINE,
    "A01_prdt_zero": MACHINE,
    "A02_prdt_limits": MACHINE,
    "A03_ncq_uaf": MACHINE,
    "A04_fis_unmap": MACHINE,
    "A05_reset_deadlock": MACHINE,
    "A06_atapi": MACHINE,
    "N01_queue_commands": MACHINE,
    "N02_prp": MACHINE,
    "N03_lba": MACHINE,
    "N04_log_features": MACHINE,
    "N05_reset_inflight": MACHINE,
    "D01_image_formats": MACHINE,
    "X01_trb_link_loop": XHCI,
    "X02_ctx": XHCI,
    "X03_usb_setup": XHCI,
    "X04_er_size": XHCI,
    "E01_head_tail": NET,
    "E02_tx_chain": NET,
    "E03_rx_big": MACHINE,
    "E04_loopback": MACHINE,
    "F01_vga_vbe": VGA,
    "F02_ps2": MACHINE,
    "F03_clocks_and_uart": MACHINE,
    "F04_fw_cfg": MACHINE,
    "F05_log_flood": MACHINE,
    "R01_rfb_pixfmt": RFB,
    "R02_rfb_cuttext": RFB,
    "R03_rfb_misc": RFB,
    "G01_gdb": Test("device/test_gdb.py::test_a_hostile_client"),
    "C01_control_socket": MACHINE,
    "S01_state_indexes": MACHINE,
    "S02_state_framing": MACHINE,
    "S03_python": Test("hostile/test_rows.py::test_no_pickles"),
    "L01_elf": Test(LOAD + "test_damaged_kernels_and_modules"),
    "L02_multiboot": Test("hostile/test_multiboot.py::test_headers_that_lie"),
    "L03_ufs_iso_gpt_mbr": Test(LOAD + "test_damaged_file_systems"),
    "K01_cpu_engine": Test(
        HOSTILE64.place,
        ("debug32", "mmio_event", "real16", "seg32", "smc64", "strict32", "task32"),
    ),
}


def played_by(program: str) -> list[str]:
    """Return the rows of a program."""
    return [name for name, row in ROWS.items() if row == Played(program)]


def missing_test(test: Test) -> bool:
    """Tell whether the test that a row names is not there."""
    file, _, name = test.place.partition("::")
    text = (ROOT / "tests" / file).read_text("utf-8")
    if name.startswith("test_"):
        return re.search(rf"^def {name}\b", text, re.M) is None
    guests = (ROOT / "tests" / "guests" / f"{n}.S" for n in (name, *test.guests))
    return not all(f'"{g.stem}"' in text and g.exists() for g in guests)


def built(row: NotBuilt) -> list[str]:
    """Return files that show that the device of a row is there now."""
    found = [path for name in row.files for path in (ROOT / "csrc").rglob(name)]
    return [str(path.relative_to(ROOT)) for path in found]
