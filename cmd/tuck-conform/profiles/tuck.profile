; tuck
environment = TUCK_DIR={dir}
objects = {dir}/objects/??/*
entries = {dir}/index/entries
own_files = {dir}/objects/??/*
own_files = {dir}/index/entries
own_files = {dir}/index/brief
own_files = {dir}/CACHEDIR.TAG
own_files = {dir}/README
own_files = {dir}/tuck.json
clear_command = TUCK_DIR={dir} {program} clear
format_file = {dir}/tuck.json
format_version = "version": *
slow_flag = --durability=strict
