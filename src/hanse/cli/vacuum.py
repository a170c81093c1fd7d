"""`hanse vacuum`: give back the room that removed events left."""

from hanse.cli.progress import Folder, bar, data_folder, only_sqlite, readable
from hanse.cli.terminal import Json, answer, out, told


def vacuum(data: Folder = None, json: Json = False) -> None:
    """Put your node's database in order and give back room that removed events left.

    With the node running it works in small steps between the node's writes. With the node stopped
    it writes the whole file anew: that gives back the most, and needs twice its size meanwhile.

    Example:  hanse vacuum
    """
    with told(json):
        only_sqlite("vacuum", "autovacuum does it; VACUUM FULL gives room back")
        import msgspec

        from hanse.operations.vacuum import vacuum as give_back

        with bar(quiet=json) as report:
            found = give_back(data_folder(data), report)

        def show() -> None:
            given = found.before - found.after
            out(f"{readable(given)} given back" if given > 0 else "Nothing to give back now")
            out(f"  {readable(found.after)} on disk, {readable(found.free)} of it free")
            if not found.whole and found.free:
                out("  with the node stopped it can give back more")

        answer(json, msgspec.to_builtins(found), show)
