"""What the labels of images say: classes, several labels, grades or numbers; and its metrics."""
