"""What is kept: tasks, design spaces, trials, and the history of them. numpy only."""
