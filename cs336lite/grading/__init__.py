"""Judge submissions: answers are compared where the student's code is not.

submission   a file -> the student's cells, whatever state the file is in
worker       forks a confined process for each submission
child        that process: runs the student's cells and the drivers
jail         seccomp and Landlock, set by a worker's child before it runs a submission
wire         what may pass between worker and client: plain values, sizes and types checked
client       the trusted side of the wire: a worker and its children
remote       a submission as a `Student`, within a budget
judge        a submission and a spec -> a verdict
verdicts     a verdict, kept as a file under its hash
hooks        the same verdicts inside stock nbgrader
items        a file, or what a student handed in -> what there is to judge
runner       a whole class: judge in parallel, record, summarise
sharing      who may read and write what a course keeps: seed, gradebook, backups, exchange and the like stand on it
doctor       which layers of protection this machine has
"""
