# Half small talk, which a small model can learn, and half people's chats: see runs/scratch.sh.
folders = ("data/scratch/chitchat=1", "data/scratch/smalltalk=1")
permissive = True
tokenizer = "data/scratch/chitchat"
out_dir = "data/scratch/mix"
