"""Writes a JUnit file for checks that are not written for a test framework. Standard library only."""
import os
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path


class Report:
    """Runs named checks and keeps their verdicts; save() writes SUITE.xml into KEYROLL_RESULTS, when that is set."""

    def __init__(self, suite):
        self.suite = ElementTree.Element("testsuite", name=suite)
        self.failed = 0

    def check(self, name, function, *arguments):
        """Calls function(*arguments): a list of complaints, empty when all is well. An exception is a complaint too."""
        started = time.monotonic()
        try:
            complaints = list(function(*arguments) or [])
        except Exception as error:  # a check that cannot run has failed
            complaints = [f"{type(error).__name__}: {error}"]
        self.record(name, complaints, time.monotonic() - started)
        return not complaints

    def record(self, name, complaints, used_s=0.0):
        case = ElementTree.SubElement(self.suite, "testcase", classname=self.suite.get("name"), name=name,
                                      time=f"{used_s:.2f}")
        print(f"{'FAIL' if complaints else 'ok  '} {name} ({used_s:.1f} s)", flush=True)
        for complaint in complaints:
            print(f"       {complaint}")
        if complaints:
            self.failed += 1
            failure = ElementTree.SubElement(case, "failure", message=printable(complaints[0][:300]))
            failure.text = printable("\n".join(complaints))

    def save(self):
        """Writes the file. Returns the exit status for the suite."""
        if os.environ.get("KEYROLL_RESULTS"):
            path = Path(os.environ["KEYROLL_RESULTS"], self.suite.get("name") + ".xml")
            ElementTree.ElementTree(self.suite).write(path, encoding="utf-8", xml_declaration=True)
        return 1 if self.failed else 0


def printable(text):
    """XML allows no control characters."""
    return "".join(character if character in "\n\t" or character >= " " else "?" for character in text)
